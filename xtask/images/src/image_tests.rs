use super::*;

fn image(reference: &str) -> Image {
    let mut files = Files::default();
    files.add_text("/hello", "hello");
    Image {
        reference: reference.to_owned(),
        files,
        entrypoint: vec!["/hello".to_owned()],
        user: "2102:2102".to_owned(),
        architecture: "amd64".to_owned(),
        ..Image::default()
    }
}

fn entries(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        (entry.path().unwrap().to_string_lossy().into_owned(), bytes)
    });
    entries.collect()
}

#[test]
fn the_same_image_written_twice_is_the_same_archive_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let first = image("localhost/hello:1").write(&dir.path().join("first.tar")).unwrap();
    let second = image("localhost/hello:1").write(&dir.path().join("second.tar")).unwrap();
    assert_eq!(first, second);
    assert_eq!(
        fs::read(dir.path().join("first.tar")).unwrap(),
        fs::read(dir.path().join("second.tar")).unwrap()
    );
}

#[test]
fn every_digest_in_the_archive_is_that_of_the_blob_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hello.tar");
    let written = image("localhost/hello:1").write(&path).unwrap();
    let entries = entries(&path);
    for (name, bytes) in &entries {
        if let Some(expected) = name.strip_prefix("blobs/sha256/") {
            assert_eq!(hex(bytes), expected);
        }
    }
    let index: Value = serde_json::from_slice(&entries["index.json"]).unwrap();
    assert_eq!(index["manifests"][0]["digest"], written.digest);
    assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "localhost/hello:1");
    let blob = |digest: &Value| &entries[&digest.as_str().unwrap().replace("sha256:", "blobs/sha256/")];
    let manifest: Value = serde_json::from_slice(blob(&index["manifests"][0]["digest"])).unwrap();
    let config: Value = serde_json::from_slice(blob(&manifest["config"]["digest"])).unwrap();
    assert_eq!(config["config"]["User"], "2102:2102");
    let mut layer = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(blob(&manifest["layers"][0]["digest"]).as_slice());
    std::io::Read::read_to_end(&mut decoder, &mut layer).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer));
}
