//! Reading recipes never panics; what is made of one is a derivation in JSON, and is not taken for a recipe.

#![no_main]

use std::collections::BTreeMap;

use derivation::json;
use libfuzzer_sys::fuzz_target;
use recipe::{Found, Input, Recipe, is_recipe};
use store_path::StoreDir;

fuzz_target!(|text: &[u8]| {
    let store_dir = StoreDir::default();
    let told = is_recipe(text);
    let Ok(recipe) = Recipe::parse(text, &store_dir) else { return };
    assert!(told, "what can be read as a recipe is told to be one");
    let path = |name: &str| format!("00000000000000000000000000000000-{name}").parse();
    let mut found = BTreeMap::new();
    for (name, input) in recipe.inputs() {
        let what = match input {
            Input::Source(source) => path(source.name.as_str()).map(Found::Source),
            Input::Stored(path) if !path.is_derivation() => Ok(Found::Source(path.clone())),
            Input::Fetch(fetch) => {
                json::parse(fetch.complete().to_string().as_bytes(), &store_dir)
                    .expect("a download is a derivation");
                path("fetched.drv").map(derivation_of)
            }
            Input::Stored(_) | Input::Recipe(_) => path("needed.drv").map(derivation_of),
        };
        // A name may be too long for a path.
        let Ok(what) = what else { return };
        found.insert(name.clone(), what);
    }
    let Ok(derivation) = recipe.complete(&store_dir, "x86_64-linux", &found) else { return };
    let text = derivation.to_string();
    assert!(!is_recipe(text.as_bytes()), "a derivation is not taken for a recipe");
    // It may still break a rule of derivations, such as one about hashes of texts.
    let _ = json::parse(text.as_bytes(), &store_dir);
});

fn derivation_of(drv: store_path::StorePath) -> Found {
    Found::Derivation { drv, outputs: BTreeMap::from([("out".to_owned(), None), ("dev".to_owned(), None)]) }
}
