# The service, and sqld under its supervision. Pinned packages first, so that a change of the code does not install
# them again.
FROM python:3.12-slim AS base
WORKDIR /opt/freehold
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY migrations ./migrations
COPY schema_registry ./schema_registry
COPY src ./src
RUN pip install --no-cache-dir --no-deps --no-build-isolation . \
    && useradd --system --uid 999 --create-home --home-dir /var/lib/freehold freehold

# From 0.24.33 on sqld syncs its replication log. Before, a power failure could cut that log short, and a database whose
# log is cut answers 500 until `freehold tenants repair` has set the log aside.
FROM ghcr.io/tursodatabase/libsql-server:v0.24.33 AS libsql

FROM base AS sqld
COPY --from=libsql /bin/sqld /usr/local/bin/sqld
# The number that sqld has in its own image, so that the folder of an earlier installation is its own here, too.
RUN install -d -o 666 -g 666 /var/lib/sqld
USER 666:666
WORKDIR /var/lib/sqld
VOLUME /var/lib/sqld
EXPOSE 8080 9090 9091
CMD ["freehold", "sqld", "--help"]

FROM base AS service
# An empty volume that Docker mounts there begins with this folder's owner; without it, root would have it. For another
# kind of volume `chown 999 FOLDER` does the same, and the service says so where it cannot write.
RUN install -d -o freehold -g freehold -m 700 /var/lib/freehold/data
USER freehold
WORKDIR /var/lib/freehold
ENV HOST=0.0.0.0 DATA_DIR=/var/lib/freehold/data SCHEMA_REGISTRY=/opt/freehold/schema_registry/bahar
VOLUME /var/lib/freehold/data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s CMD python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=2)"
CMD ["freehold", "serve"]
