//! What a signature is over, and what needs none.

use store_path::{ContentAddress, HashAlgorithm, Method, PathInfo, StoreDir};

/// Returns the text that is signed: path, hash, size and references, so whatever decides what the path is.
pub fn fingerprint(info: &PathInfo, store_dir: &StoreDir) -> String {
    let references: Vec<String> = info.references.iter().map(|path| store_dir.print(path)).collect();
    let path = store_dir.print(&info.path);
    format!("1;{path};{};{};{}", info.nar_hash.prefixed_nix32(), info.nar_size, references.join(","))
}

/// Whether the path follows from the content address that is stated, so that no one has to vouch for it.
///
/// That the contents are those of the address is for whoever has them to see.
pub fn is_content_addressed(info: &PathInfo, store_dir: &StoreDir) -> bool {
    let Some(ContentAddress { method, hash }) = &info.content_address else { return false };
    let mut others = info.references.clone();
    let refers_to_itself = others.remove(&info.path);
    let name = info.path.name();
    let path = match (method, hash.algorithm()) {
        (Method::Nar, HashAlgorithm::Sha256) => store_dir.source_path(name, hash, &others, refers_to_itself),
        // A text is there before its path, and no other kind may refer to anything.
        (Method::Text, _) if !refers_to_itself => store_dir.text_path(name, hash, &others),
        _ if info.references.is_empty() => store_dir.fixed_path(name, *method, hash),
        _ => return false,
    };
    path == info.path
}
