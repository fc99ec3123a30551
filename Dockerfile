# The service. Pinned packages first, so that a change of the code does not install them anew.
FROM python:3.12-slim
WORKDIR /opt/freehold
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY migrations ./migrations
COPY schema_registry ./schema_registry
COPY src ./src
RUN pip install --no-cache-dir --no-deps --no-build-isolation . \
    && useradd --system --create-home --home-dir /var/lib/freehold freehold
USER freehold
WORKDIR /var/lib/freehold
ENV HOST=0.0.0.0 DATA_DIR=/var/lib/freehold/data SCHEMA_REGISTRY=/opt/freehold/schema_registry/bahar
VOLUME /var/lib/freehold/data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s CMD python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=2)"
CMD ["freehold", "serve"]
