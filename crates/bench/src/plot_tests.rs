//! Bars are as long as their values are large.

use super::*;

#[test]
fn bars_are_in_proportion_but_for_what_is_out_of_it_and_none_is_drawn_for_what_is_no_number() {
    let rows = vec![("load".to_owned(), vec![10.0, 5.0, f64::NAN]), ("far".to_owned(), vec![7000.0])];
    let svg = bars(&Bars { title: "CPU", subjects: &["a", "b", "c"], rows });
    for part in
        ["width=\"560.0\"", "width=\"280.0\"", "width=\"0.0\"", ">none<", ">10.0<", ">load<", ">7000.0<"]
    {
        assert!(svg.contains(part), "{part} is not in\n{svg}");
    }
}
