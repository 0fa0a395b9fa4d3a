//! What a viewer sends, and what a server of pictures does: none of it may panic or make what is kept of it grow, and cut anywhere it says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rfb::{CUT_TEXT_MAX, Client, Deflater, Inputs, Event, Screen, Server};

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let screen = Screen::new(200, 130).unwrap();
    let hello = b"RFB 003.008\n\x01\x01";
    let mut whole = (Server::new("x"), Vec::new());
    whole.0.receive(hello, &screen, &mut whole.1).unwrap();
    let of_whole = whole.0.receive(bytes, &screen, &mut whole.1);
    let mut pieces = (Server::new("x"), Vec::new());
    pieces.0.receive(hello, &screen, &mut pieces.1).unwrap();
    let mut of_pieces = Ok(());
    for piece in bytes.chunks(usize::from(*cut).max(1)) {
        of_pieces = pieces.0.receive(piece, &screen, &mut pieces.1);
        assert!(pieces.0.input_len() <= CUT_TEXT_MAX + 8);
        if of_pieces.is_err() {
            break;
        }
    }
    assert_eq!((of_whole, &whole.1), (of_pieces, &pieces.1));
    let mut inputs = Inputs::default();
    for event in whole.1 {
        if let Event::Input(input) = event {
            inputs.push(input);
        }
    }
    inputs.release_all();
    let _ = pieces.0.update(&screen, &mut Deflater::default());

    let mut seen = Screen::new(64, 64).unwrap();
    let mut client = Client::default();
    client.receive(b"RFB 003.008\n\x01\x01\0\0\0\0", &mut seen).unwrap();
    let _ = client.receive(bytes, &mut seen);
});
