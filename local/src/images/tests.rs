use super::*;
use std::os::unix::fs::PermissionsExt;

fn images(text: &str) -> (tempfile::TempDir, Images) {
    let dir = tempfile::tempdir().unwrap();
    for name in ["meshproxy", "app", "app2"] {
        let path = dir.path().join(name);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut images = Images::built_in(dir.path(), Vec::new());
    images.add(&dir.path().join("images.yaml"), text).unwrap();
    (dir, images)
}

fn name(images: &Images, image: &str) -> String {
    let program = images.resolve(image).unwrap();
    program
        .executable
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

#[test]
fn the_closest_pattern_wins() {
    let (_dir, images) = images(
        "- {image: docker.io/x/app, command: [app]}\n- {image: 'x/app:2.*', command: [app2, --v2]}\n",
    );
    assert_eq!(name(&images, "docker.io/x/app:1.0"), "app");
    assert_eq!(name(&images, "x/app"), "app");
    assert_eq!(name(&images, "docker.io/x/app:2.7.1"), "app2");
    assert_eq!(name(&images, "meshproxy"), "meshproxy");
    assert_eq!(name(&images, "docker.io/istio/proxyv2:1.28.0"), "meshproxy");
}

#[test]
fn istios_bookinfo_images_are_known() {
    let images = Images::built_in(Path::new("/nowhere"), Vec::new());
    let image = "registry.istio.io/release/examples-bookinfo-reviews-v3:1.20.3";
    let missing = images.resolve(image);
    let error = missing.unwrap_err().to_string();
    assert!(error.contains("stands for bookinfo"), "{error}");
}

#[test]
fn an_unknown_image_says_what_to_add_where() {
    let (dir, images) = images("[]");
    let error = images
        .resolve("registry:5000/shop:3")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&dir.path().join("images.yaml").display().to_string()),
        "{error}"
    );
    assert!(
        error.contains("{image: registry:5000/shop, command: [PROGRAM]}"),
        "{error}"
    );
}

#[test]
fn a_missing_executable_is_named_with_its_file() {
    let (_dir, images) = images("- {image: shop, command: [shopd]}");
    let error = images.resolve("shop:1").unwrap_err().to_string();
    assert!(
        error.contains("stands for shopd") && error.contains("images.yaml"),
        "{error}"
    );
}

#[test]
fn a_bad_file_is_refused_with_its_name() {
    let mut images = Images::default();
    let error = images
        .add(Path::new("d/images.yaml"), "- {image: x}")
        .unwrap_err();
    assert!(
        error.starts_with("d/images.yaml: ") && error.contains("command"),
        "{error}"
    );
}

#[test]
fn command_replaces_and_args_append() {
    let program = Program {
        executable: "/bin/app".into(),
        arguments: vec!["reviews".to_owned()],
        env: BTreeMap::new(),
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        command_line(&program, None, None),
        words("/bin/app reviews")
    );
    assert_eq!(
        command_line(&program, None, Some(&words("9080"))),
        words("/bin/app reviews 9080")
    );
    assert_eq!(
        command_line(&program, Some(&words("sh -c")), Some(&words("x"))),
        words("sh -c x")
    );
}

#[test]
fn a_pattern_may_leave_the_registry_open() {
    let (_dir, images) =
        images("- {image: '*/app', command: [app]}\n- {image: shop/app, command: [app2]}\n");
    assert_eq!(name(&images, "registry.example.com/team/app:1"), "app");
    assert_eq!(name(&images, "app"), "app");
    assert_eq!(name(&images, "docker.io/shop/app:2"), "app2");
    assert!(images.resolve("shop/other-app").is_err());
}
