//! Tests of task ownership: counting, stopping, the tree of groups. No real time passes (tokio's clock is paused).

use std::future::pending;
use std::time::Duration;

use super::Tasks;

const DEADLINE: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn a_group_is_empty_once_its_tasks_ended() {
    let tasks = Tasks::new();
    for _ in 0..3 {
        let token = tasks.token().clone();
        tasks.spawn("waits", async move { token.cancelled().await });
    }
    assert_eq!(tasks.len(), 3);
    tasks.stop();
    assert_eq!(tasks.wait(DEADLINE).await, 0);
    assert!(tasks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_stop_is_counted_at_the_deadline() {
    let tasks = Tasks::new();
    tasks.spawn("deaf", pending());
    tasks.stop();
    assert_eq!(tasks.wait(DEADLINE).await, 1);
}

#[tokio::test(start_paused = true)]
async fn stopping_a_parent_stops_its_children_and_waits_for_them() {
    let parent = Tasks::new();
    let child = parent.child();
    child.child().spawn_until_stopped("grandchild", pending());
    assert_eq!((parent.len(), child.len()), (1, 1));
    parent.stop();
    assert_eq!(parent.wait(DEADLINE).await, 0);
    assert_eq!(child.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn stopping_a_child_leaves_its_parent_running() {
    let parent = Tasks::new();
    parent.spawn_until_stopped("parent", pending());
    let child = parent.child();
    child.spawn_until_stopped("child", pending());
    child.stop();
    assert_eq!(child.wait(DEADLINE).await, 0);
    assert!(!parent.token().is_cancelled());
    assert_eq!(parent.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_is_no_longer_counted() {
    let tasks = Tasks::new();
    tasks.spawn("panics", async { panic!("wanted by the test") });
    assert_eq!(tasks.wait(DEADLINE).await, 0);
}
