"""Ray Serve's autoscaler, by Ray Serve's own policy functions and a clock of the simulation's.

From Ray 2.60 come the policy itself and the delays (`ray.serve.autoscaling_policy`), the
averaging and the bounds are those of `ray.serve._private.autoscaling_state`: callers record what
they have open every `min(0.2 * look_back_period_s, metrics_interval_s)`, tell it every
`metrics_interval_s`, and the controller takes the mean of the last `look_back_period_s` in each
turn of its loop. What is private there is imported here alone; `tests/unit/test_sizing_serve.py`
holds it against the whole policy as Serve runs it.
"""

from collections import deque
from typing import Any

from ray.serve._private.common import DeploymentID
from ray.serve._private.constants import (
    CONTROL_LOOP_INTERVAL_S,
    RAY_SERVE_AUTOSCALING_METRIC_RECORD_INTERVAL_FACTOR,
)
from ray.serve.autoscaling_policy import (
    _apply_delay_logic,
    _apply_scaling_factors,
    replica_queue_length_autoscaling_policy,
)
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from leyden_server.controller.options import LOOK_BACK_PERIOD_S, METRICS_INTERVAL_S

__all__ = ["CONTROL_LOOP_INTERVAL_S", "ServeAutoscaler", "autoscaler"]


def autoscaler(**settings: float) -> "ServeAutoscaler":
    """Return the autoscaler of a stage with these settings, and with those that all have."""
    config = AutoscalingConfig(
        **settings,
        metrics_interval_s=METRICS_INTERVAL_S,
        look_back_period_s=LOOK_BACK_PERIOD_S,
    )
    return ServeAutoscaler(config)


class ServeAutoscaler:
    """Decides how many replicas one deployment is to have."""

    def __init__(self, config: AutoscalingConfig) -> None:
        self._config = config
        self._state: dict[str, Any] = {}
        self._recorded: deque[tuple[float, float]] = deque()
        self._told: deque[tuple[float, float]] = deque()

    @property
    def record_interval_s(self) -> float:
        """How often callers note what they have open."""
        factor = RAY_SERVE_AUTOSCALING_METRIC_RECORD_INTERVAL_FACTOR
        config = self._config
        return float(min(factor * config.look_back_period_s, config.metrics_interval_s))

    @property
    def tell_interval_s(self) -> float:
        """How often they tell it to the controller."""
        return float(self._config.metrics_interval_s)

    def record(self, now_s: float, ongoing: int) -> None:
        """Note what is open at all callers together."""
        self._recorded.append((now_s, float(ongoing)))

    def tell(self) -> None:
        """Let the controller know what was recorded."""
        self._told.extend(self._recorded)
        self._recorded.clear()

    def decide(self, now_s: float, *, running: int, target: int) -> int:
        """Return how many replicas there are to be, from now on."""
        context = self._context(now_s, running, target)
        # What `_apply_autoscaling_config` does around the policy, with our clock.
        wanted, _ = replica_queue_length_autoscaling_policy(context)
        if running == 0 and context.total_num_requests > 0:
            return self._bounded(int(wanted))
        scaled = _apply_scaling_factors(wanted, running, self._config)
        if running == 0 and scaled > 0:
            return self._bounded(scaled)
        decided, self._state = _apply_delay_logic(
            max(0, scaled), target, self._config, self._state, _now=now_s
        )
        return self._bounded(decided)

    def _context(self, now_s: float, running: int, target: int) -> AutoscalingContext:
        config = self._config
        return AutoscalingContext(
            deployment_id=DeploymentID(name="stage", app_name="plan"),
            deployment_name="stage",
            app_name="plan",
            current_num_replicas=running,
            target_num_replicas=target,
            running_replicas=[],
            total_num_requests=self._mean(now_s),
            total_queued_requests=None,
            aggregated_metrics=None,
            raw_metrics=None,
            capacity_adjusted_min_replicas=config.min_replicas,
            capacity_adjusted_max_replicas=config.max_replicas,
            policy_state=self._state,
            last_scale_up_time=None,
            last_scale_down_time=None,
            current_time=now_s,
            config=config,
        )

    def _mean(self, now_s: float) -> float:
        while self._told and self._told[0][0] < now_s - self._config.look_back_period_s:
            self._told.popleft()
        if not self._told:
            return 0.0
        return sum(value for _, value in self._told) / len(self._told)

    def _bounded(self, replicas: int) -> int:
        low, high = self._config.min_replicas, self._config.max_replicas
        return int(max(low, min(high, replicas)))
