//! The table.

use super::*;

#[test]
fn each_state_is_a_line_of_client_and_server() {
    let memory = |mebibytes: u64| Memory { rss: mebibytes << 20, pss: 1 << 20, container: 2 << 20 };
    let state = State { name: "at rest".to_owned(), memory: [memory(3), memory(4)] };
    let page = Pods { states: vec![state], ..Pods::default() }.markdown();
    assert!(page.ends_with("\n| at rest | 3.0 / 4.0 | 1.0 / 1.0 | 2.0 / 2.0 |\n"), "{page}");
}

#[test]
fn the_most_is_of_each_figure_by_itself() {
    let most = Memory { rss: 1, pss: 5, container: 2 }.or_more(Memory { rss: 3, pss: 4, container: 2 });
    assert_eq!((most.rss, most.pss, most.container), (3, 5, 2));
}
