"""Run a template on a processor that counts as two devices: ``on_two_devices.py TEMPLATE CODE_DIR [ARGUMENT ...]``."""

import runpy
import sys


def main():
    import tensorflow as tf

    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    sys.path.insert(0, sys.argv[2])
    import utils.devices

    utils.devices._training_devices = lambda: ["CPU:0", "CPU:1"]
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
