"""Which machine a figure is of."""

import os
import platform


def machine() -> str:
    """Processor and kernel, as the figures need them."""
    with open("/proc/cpuinfo") as cpuinfo:
        model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), "?")
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"
