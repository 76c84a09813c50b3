//! Certificate and key: from their files to what shards greet new connections with.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::node::assemble;
use crate::node::settings::Settings;
use crate::shard::tls::{Acceptor, Fault};

/// Permission of everybody to read a file.
const WORLD_READABLE: u32 = 0o004;

/// Reads the files of `WS_TLS_CERT` and `WS_TLS_KEY`; nothing where the node does not end TLS.
///
/// # Errors
/// One sentence, which names the setting and the file.
pub fn acceptor(settings: &Settings) -> Result<Option<Acceptor>, String> {
    let (Some(chain), Some(key)) = (&settings.tls_cert, &settings.tls_key) else { return Ok(None) };
    let chain_text = assemble::read("WS_TLS_CERT", chain)?;
    let key_text = assemble::read("WS_TLS_KEY", key)?;
    Acceptor::from_pem(chain_text.as_bytes(), key_text.as_bytes()).map(Some).map_err(|fault| match fault {
        Fault::Certificate(fault) => format!("WS_TLS_CERT is \"{}\": {fault}", chain.display()),
        Fault::Key(fault) => format!("WS_TLS_KEY is \"{}\": {fault}", key.display()),
        Fault::Pair => format!(
            "WS_TLS_KEY is \"{}\", which is not the key of the first certificate in WS_TLS_CERT \"{}\"",
            key.display(),
            chain.display()
        ),
        Fault::NotBuilt => "WS_TLS_CERT and WS_TLS_KEY are set, and this program was built without TLS \
                            (the cargo feature `tls`)"
            .into(),
    })
}

/// Warns where every user of the machine can read the key.
pub fn warn_of_open_key(settings: &Settings) {
    let Some(path) = &settings.tls_key else { return };
    if is_world_readable(path) {
        tracing::warn!(
            path = %path.display(),
            "every user of this machine can read the key in WS_TLS_KEY: take that away (chmod o-r)"
        );
    }
}

fn is_world_readable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & WORLD_READABLE != 0)
}
