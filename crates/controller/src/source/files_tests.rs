use super::*;
use crate::source::Place;
use crate::source::objects::Kind;

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web-1\nstatus:\n  podIP: 10.1.0.2\n";

fn line(problem: &Problem) -> usize {
    match problem.place {
        Place::File { line, .. } => line,
        Place::Object(_) => 0,
    }
}

fn directory() -> (tempfile::TempDir, Directory) {
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::new(dir.path().to_owned());
    (dir, directory)
}

#[test]
fn a_manifest_is_applied_once_and_deleted_with_its_file() {
    let (dir, mut directory) = directory();
    let file = dir.path().join("web.yaml");
    std::fs::write(&file, POD).unwrap();
    assert!(matches!(directory.scan()[..], [Event::Apply(Object::Pod(_))]));
    assert_eq!(directory.scan(), []);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(directory.scan(), [Event::Delete((Kind::Pod, "default".into(), "web-1".into()))]);
}

#[test]
fn a_broken_manifest_names_file_line_and_reason_and_what_it_said_stays() {
    let (dir, mut directory) = directory();
    let file = dir.path().join("web.yaml");
    std::fs::write(&file, POD).unwrap();
    directory.scan();
    let other = POD.replace("web-1", "web-2");
    std::fs::write(&file, format!("{other}---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: [web-1\n"))
        .unwrap();
    assert!(
        matches!(&directory.scan()[..], [Event::Apply(Object::Pod(pod))] if pod.metadata.name == "web-2")
    );
    let problems = directory.problems();
    assert_eq!(problems.len(), 1);
    assert!(line(&problems[0]) >= 8, "{problems:?}");
    assert!(problems[0].to_string().contains("web.yaml:"), "{problems:?}");
    std::fs::write(&file, &other).unwrap();
    assert_eq!(directory.scan(), [Event::Delete((Kind::Pod, "default".into(), "web-1".into()))]);
    assert_eq!(directory.problems(), []);
}

#[test]
fn null_is_empty() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: null, labels: null, ownerReferences:}\nspec: {serviceAccountName: null, containers: [{ports: null}], hostNetwork:}\nstatus: null\n";
    let (objects, problems) = read(Path::new("a.yaml"), text);
    assert_eq!((objects.len(), problems.len()), (1, 0), "{problems:?}");
}

#[test]
fn unknown_kinds_and_fields_are_no_problem() {
    let text = "kind: ConfigMap\napiVersion: v1\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a, x: 1}\nspec: {type: New}\n";
    let (objects, problems) = read(Path::new("a.yaml"), text);
    assert_eq!((objects.len(), problems.len()), (1, 0), "{problems:?}");
}

#[test]
fn a_manifest_that_moves_to_another_file_stays() {
    let (dir, mut directory) = directory();
    std::fs::write(dir.path().join("a.yaml"), POD).unwrap();
    directory.scan();
    std::fs::rename(dir.path().join("a.yaml"), dir.path().join("b.yaml")).unwrap();
    let events = directory.scan();
    assert!(events.iter().all(|event| matches!(event, Event::Apply(_))), "{events:?}");
}

#[test]
fn of_two_files_with_the_same_object_the_first_is_used_and_the_other_is_named() {
    let (dir, mut directory) = directory();
    let ip = |events: &[Event]| match events {
        [Event::Apply(Object::Pod(pod))] => pod.status.pod_ip.clone(),
        other => panic!("{other:?}"),
    };
    std::fs::write(dir.path().join("b.yaml"), POD.replace("10.1.0.2", "10.1.0.9")).unwrap();
    assert_eq!(ip(&directory.scan()), "10.1.0.9");
    std::fs::write(dir.path().join("a.yaml"), POD).unwrap();
    assert_eq!(ip(&directory.scan()), "10.1.0.2");
    let problems = directory.problems();
    assert!(problems.len() == 1 && problems[0].to_string().contains("b.yaml"), "{problems:?}");
    std::fs::remove_file(dir.path().join("a.yaml")).unwrap();
    assert_eq!(ip(&directory.scan()), "10.1.0.9");
    assert_eq!(directory.problems(), []);
}

#[test]
fn a_file_replaced_by_one_of_the_same_length_and_time_is_read_again() {
    let (dir, mut directory) = directory();
    let (file, other) = (dir.path().join("a.yaml"), dir.path().join(".a.yaml"));
    std::fs::write(&file, POD).unwrap();
    std::fs::write(&other, POD.replace("10.1.0.2", "10.1.0.3")).unwrap();
    let time = std::fs::metadata(&file).unwrap().modified().unwrap();
    std::fs::File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
    assert_eq!(directory.scan().len(), 1, "the hidden file is not read");
    std::fs::rename(&other, &file).unwrap();
    assert_eq!(directory.scan().len(), 1);
}

#[test]
fn a_mounted_config_map_is_read_through_its_links() {
    let (dir, mut directory) = directory();
    std::fs::create_dir(dir.path().join("..data")).unwrap();
    std::fs::write(dir.path().join("..data/a.yaml"), POD).unwrap();
    std::os::unix::fs::symlink("..data/a.yaml", dir.path().join("a.yaml")).unwrap();
    assert_eq!(directory.scan().len(), 1);
}

#[test]
fn a_directory_that_cannot_be_read_is_not_empty() {
    let (dir, mut directory) = directory();
    std::fs::write(dir.path().join("a.yaml"), POD).unwrap();
    directory.scan();
    std::fs::remove_dir_all(dir.path()).unwrap();
    assert_eq!(directory.scan(), []);
    assert_eq!(directory.problems().len(), 1);
}

#[test]
fn reading_the_directory_does_not_lead_to_the_next_scan() {
    let of = |kind| is_change(&notify::Event::new(kind));
    assert!(!of(EventKind::Access(AccessKind::Open(AccessMode::Any))));
    assert!(!of(EventKind::Access(AccessKind::Close(AccessMode::Read))));
    assert!(of(EventKind::Access(AccessKind::Close(AccessMode::Write))));
    assert!(of(EventKind::Create(notify::event::CreateKind::File)) && of(EventKind::Any));
}

#[test]
fn a_problem_never_names_a_line_that_the_file_does_not_have() {
    let (_, problems) =
        read(Path::new("a.yaml"), "kind: Pod\napiVersion: v1\nmetadata: {name: a\rb\rc\rd: [: }");
    assert!(problems.iter().all(|problem| (1..=3).contains(&line(problem))), "{problems:?}");
}
