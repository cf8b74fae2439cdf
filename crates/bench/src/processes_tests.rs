//! Lines of /proc as the kernel writes them.

use super::*;

#[test]
fn cpu_time_is_read_behind_a_name_with_spaces_and_brackets() {
    let stat = "4242 (a) b (c) S 1 4242 4242 0 -1 4194304 900 0 3 0 150 50 7 9 20 0 3 0 77 1000 200 0";
    assert_eq!(cpu_seconds(stat), Some(2.0));
    assert_eq!(cpu_seconds("4242 (short) S"), None);
}

#[test]
fn memory_is_read_in_bytes_and_a_zombie_has_none() {
    assert_eq!(memory_bytes("Name:\tx\nVmRSS:\t    5120 kB\n", "VmRSS:"), Some(5120 * 1024));
    assert_eq!(memory_bytes("Name:\tx\n", "VmRSS:"), Some(0));
}

#[test]
fn this_machine_has_a_kernel_and_memory() {
    let machine = Machine::this();
    assert!(machine.cores > 0 && machine.memory_bytes > 0 && !machine.kernel.is_empty(), "{machine:?}");
}

#[test]
fn a_machine_is_busy_when_it_is_neither_idle_nor_waiting() {
    let [before, after] =
        ["cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1", "cpu  140 10 70 880 90 5 5 0 30 0\ncpu0 1"]
            .map(MachineTime::read);
    assert!((after.busy_since(before) - 0.4).abs() < 1e-9, "{after:?}");
}
