use super::*;

#[test]
fn a_secret_that_an_operator_has_filled_is_read() {
    let made = Material::generate("cluster.local", SystemTime::now()).unwrap();
    let given = Material { anchor_key: None, ..made };
    let mut secret = Secret::default();
    write(&mut secret, &given).unwrap();
    assert_eq!(secret.data.as_ref().unwrap().keys().collect::<Vec<_>>(), ["ca.crt", "tls.crt", "tls.key"]);
    assert_eq!(read(&secret).unwrap(), given);
    secret.data.as_mut().unwrap().remove("ca.crt");
    let error = read(&secret).unwrap_err().to_string();
    assert!(error.contains("ca.crt is missing"), "{error}");
}

#[test]
fn a_rotation_is_written_and_taken_away_again_and_foreign_keys_stay() {
    let made = Material::generate("cluster.local", SystemTime::now()).unwrap();
    let rotating = made.renew_anchor("cluster.local", SystemTime::now(), Duration::from_secs(60)).unwrap();
    let mut secret = Secret::default();
    secret.data.get_or_insert_default().insert("note".into(), ByteString(b"mine".to_vec()));
    write(&mut secret, &rotating).unwrap();
    assert_eq!(read(&secret).unwrap(), rotating);
    write(&mut secret, &made).unwrap();
    assert_eq!(read(&secret).unwrap(), made);
    assert!(secret.data.unwrap().contains_key("note"));
}
