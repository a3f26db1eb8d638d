"""TraceSetting and LogSettings: read, and refused by name where a client would change them."""

from collections.abc import Iterable, Mapping

from leyden_server.config import GatewayConfig
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.parsing import invalid

__all__ = ["log_settings", "trace_settings"]

LOG: Mapping[str, bool | int | str] = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}


def trace_settings(
    request: pb.TraceSettingRequest, config: GatewayConfig
) -> pb.TraceSettingResponse:
    """Return the settings; one that is set must be as it is already, or be cleared.

    Raises:
        InvalidRequestError: one would be changed, or is unknown.

    """
    now = _traces(config)
    _require_known(request.settings, now, "trace_file")
    for name, setting in request.settings.items():
        if setting.value and list(setting.value) != [now[name]]:
            raise _fixed(name, now[name])
    response = pb.TraceSettingResponse()
    for name, value in now.items():
        response.settings[name].value.append(value)
    return response


def log_settings(request: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
    """Return the settings; one that is set must be as it is already.

    Raises:
        InvalidRequestError: one would be changed, or is unknown.

    """
    _require_known(request.settings, LOG, "log_file")
    for name, setting in request.settings.items():
        choice = setting.WhichOneof("parameter_choice")
        if choice is None or getattr(setting, choice) != LOG[name]:
            raise _fixed(name, str(LOG[name]))
    response = pb.LogSettingsResponse()
    for name, value in LOG.items():
        setting_now = response.settings[name]
        if isinstance(value, bool):
            setting_now.bool_param = value
        elif isinstance(value, int):
            setting_now.uint32_param = value
        else:
            setting_now.string_param = value
    return response


def _traces(config: GatewayConfig) -> dict[str, str]:
    """Return the trace settings by Triton's names; traces go to a collector, and are no files."""
    is_on = bool(config.trace_endpoint) and config.trace_sample_ratio > 0
    return {
        "trace_file": "",
        "trace_level": "TIMESTAMPS" if is_on else "OFF",
        # Of so many requests one is traced.
        "trace_rate": str(max(1, round(1 / config.trace_sample_ratio))) if is_on else "1000",
        "trace_count": "-1",
        "log_frequency": "0",
        "trace_mode": "opentelemetry",
    }


def _require_known(names: Iterable[str], known: Mapping[str, object], file: str) -> None:
    for name in names:
        if name == file:
            raise invalid(file, "a client cannot have the server write files")
        if name not in known:
            raise invalid(name[:100], f"the settings are {', '.join(known)}")


def _fixed(name: str, value: str) -> Exception:
    return invalid(name, f"is {value} while this server runs; its config is where it is set")
