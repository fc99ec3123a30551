"""The service that is measured."""

from testbed.servers import Service


class MeasuredService(Service):
    """It shares no memory and no settings of the collector with another process, as on a server."""

    starts_anew = True
