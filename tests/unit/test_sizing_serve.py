"""The simulation's autoscaler against the whole policy, as Ray Serve runs it."""

import itertools

import pytest
from ray.serve import autoscaling_policy
from ray.serve._private.common import DeploymentID
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from leyden_server.sizing.serve_autoscaler import ServeAutoscaler

CONFIG = AutoscalingConfig(
    min_replicas=1,
    max_replicas=8,
    target_ongoing_requests=4,
    upscale_delay_s=2,
    downscale_delay_s=20,
    metrics_interval_s=1,
    look_back_period_s=2,
)


def serve_decides(
    now_s: float, ongoing: float, running: int, target: int, state: dict[str, object]
) -> tuple[int, dict[str, object]]:
    """Return what Serve's own wrapper of its default policy says, bounded as Serve bounds it."""
    policy = autoscaling_policy._apply_autoscaling_config(
        autoscaling_policy.replica_queue_length_autoscaling_policy
    )
    wanted, state = policy(
        AutoscalingContext(
            deployment_id=DeploymentID("stage", "app"),
            deployment_name="stage",
            app_name="app",
            current_num_replicas=running,
            target_num_replicas=target,
            running_replicas=[],
            total_num_requests=ongoing,
            total_queued_requests=None,
            aggregated_metrics=None,
            raw_metrics=None,
            capacity_adjusted_min_replicas=1,
            capacity_adjusted_max_replicas=8,
            policy_state=state,
            last_scale_up_time=None,
            last_scale_down_time=None,
            current_time=now_s,
            config=CONFIG,
        )
    )
    return max(1, min(8, wanted)), state


def test_it_decides_as_serve_does(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(autoscaling_policy.time, "time", lambda: now_s)
    ours = ServeAutoscaler(CONFIG)
    loads = itertools.cycle((4, 20, 3, 60, 9, 0, 12, 1))
    running = target = 1
    state: dict[str, object] = {}
    ongoing, seen = 0, set()
    for tick in range(3000):
        if tick % 170 == 0:
            ongoing = next(loads)
        ours.record(now_s, ongoing)
        ours.tell()
        mean = ours._mean(now_s)
        expected, state = serve_decides(now_s, mean, running, target, state)
        target = ours.decide(now_s, running=running, target=target)
        assert target == expected, f"at tick {tick}"
        running += (target > running) - (target < running)
        seen.add(target)
        now_s += 0.1
    assert {1, 3, 5, 8} <= seen


def test_it_averages_what_was_told_of_the_last_seconds() -> None:
    ours = ServeAutoscaler(CONFIG)
    ours.record(0.0, 100)
    ours.record(2.0, 4)
    assert ours._mean(2.0) == 0, "nothing was told yet"
    ours.tell()
    ours.record(3.0, 8)
    ours.tell()
    assert ours._mean(2.5) == pytest.approx((4 + 8) / 2)
    assert ours.record_interval_s == pytest.approx(0.4)
