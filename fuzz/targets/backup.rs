//! A backup, and a file of exported credentials, as anybody may have written them: read to the end or
//! refused, with no more memory than a frame takes. Blocks as only a holder of the key could.
#![no_main]
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pentad_agents::backup::{Header, blocks};
use pentad_keys::framed::{FileKey, ForeignKey, Prelude, Raw, Sort};
use pentad_model::Secret;

static KEY: LazyLock<ForeignKey> =
    LazyLock::new(|| ForeignKey::new(&Secret::new(vec![7; 32])).expect("32 bytes"));

fn key(header: &[u8]) -> FileKey {
    KEY.file(&[1; 32], header).expect("a key")
}

fuzz_target!(|bytes: &[u8]| {
    for sort in [Sort::Backup, Sort::Credentials] {
        let mut rest = bytes;
        let Ok(prelude) = Prelude::read(sort, &mut rest) else { continue };
        let _ = Header::parse(&prelude.header).map(|header| header.salt());
        let key = key(&prelude.header);
        let mut number = 0;
        while let Ok(Some(raw)) = Raw::read(&mut rest) {
            assert!(key.open(number, &raw.bytes).is_err(), "nobody has that key");
            number += 1;
        }
    }
    let mut rest = bytes;
    while let Ok(Some(_)) = Raw::read(&mut rest) {}
    if let Ok(blocks::Content::Rows(rows)) = blocks::read(bytes) {
        for row in rows {
            let _ = row.parse();
        }
    }
});
