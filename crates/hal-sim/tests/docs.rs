//! The frames shown in `docs/gpio.md` are frames.

use hal_sim::wire::ToTwin;

#[test]
fn frames_of_the_page_are_understood_and_written_back_the_same() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/gpio.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut frames = 0;
    for block in page.split("```json\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for line in block.lines() {
            let frame: ToTwin = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(serde_json::to_string(&frame).unwrap(), line);
            frames += 1;
        }
    }
    assert!(frames >= 10);
}
