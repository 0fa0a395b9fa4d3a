//! The page of the commands says what the table says.

#[test]
fn the_page_has_the_table_as_it_is() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ipmi.md")).unwrap();
    let table = ipmi::Command::table();
    assert!(page.contains(&table), "put this table into docs/ipmi.md:\n{table}");
}
