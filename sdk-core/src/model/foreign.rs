//! How ids and JSON texts cross to other languages: as text.

#[cfg(feature = "uniffi")]
macro_rules! as_text {
    ($($name:ident),+) => {$(
        uniffi::custom_type!($name, String, {
            lower: |id| id.to_string(),
            try_lift: |text| Ok(text.into()),
        });
    )+};
}

#[cfg(feature = "uniffi")]
mod uniffi_types {
    use crate::{
        model::ids::{
            AlertId, CameraId, ConnectionId, DispatchId, ItemId, OrganizationId, RecordingId,
            TenantId, UserId,
        },
        protocol::{Code, Json, Mark},
    };

    as_text!(
        AlertId,
        CameraId,
        ConnectionId,
        DispatchId,
        OrganizationId,
        RecordingId,
        TenantId,
        UserId
    );

    uniffi::custom_type!(Code, String, {
        lower: |code| code.as_str().to_owned(),
        try_lift: |text| Ok(text.into()),
    });
    uniffi::custom_type!(ItemId, String, {
        lower: |id| id.to_string(),
        try_lift: |text| Ok(text.parse()?),
    });
    uniffi::custom_type!(Mark, String, {
        lower: |mark| mark.to_string(),
        try_lift: |text| Ok(text.parse()?),
    });
    uniffi::custom_type!(Json, String, {
        lower: |json| json.get().to_owned(),
        try_lift: |text| Ok(Json::parse(&text)?),
    });
}

#[cfg(feature = "tsify")]
const _: () = {
    use wasm_bindgen::prelude::wasm_bindgen;
    #[wasm_bindgen(typescript_custom_section)]
    const IDS: &str = "
export type AlertId = string;
export type CameraId = string;
export type DispatchId = string;
export type RecordingId = string;
export type UserId = string;
";
};
