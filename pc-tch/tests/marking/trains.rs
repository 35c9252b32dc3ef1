//! A tch program with marks learns as well by standard PC as by backprop.

use pc_tch::pc_core::Schedule;

use crate::common::seeded;

#[allow(dead_code)]
#[path = "../../examples/digits_marks.rs"]
mod digits_marks;

#[test]
fn digits_are_read_as_well_as_by_backprop() {
    let _turn = seeded();
    let backprop = digits_marks::train(digits_marks::EPOCHS, None).unwrap();
    let standard = Schedule::standard(0.02, 20).unwrap();
    let ours = digits_marks::train(digits_marks::EPOCHS, Some(standard)).unwrap();
    println!("backprop {:.2} %, standard PC {:.2} %", 100.0 * backprop, 100.0 * ours);
    assert!(backprop > 0.96, "backprop: {backprop}");
    assert!(ours > backprop - 0.01, "standard PC: {ours}, backprop: {backprop}");
}
