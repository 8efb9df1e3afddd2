//! Which image a container of ours runs.

use crate::InjectError;
use crate::annotations::Annotations;
use crate::settings::Settings;

/// The image of the proxy and of the capture container: that of the annotation, else the mesh's.
pub(crate) fn proxy(annotations: &Annotations, settings: &Settings) -> Result<String, InjectError> {
    let named = annotations.read("sidecar.istio.io/proxyImage", |text| match text.trim() {
        "" => Err("name an image, or remove it".to_owned()),
        image if image.contains(char::is_whitespace) => {
            Err("an image name has no spaces".to_owned())
        }
        image => Ok(image.to_owned()),
    })?;
    Ok(named.unwrap_or_else(|| settings.proxy_image.clone()))
}
