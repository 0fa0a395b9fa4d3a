//! What areas and fields are called.

/// An area of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// For the management controller alone.
    InternalUse,
    /// The chassis the part is in.
    Chassis,
    /// The board.
    Board,
    /// The product as it is sold.
    Product,
    /// Records of many kinds.
    MultiRecord,
}

impl std::fmt::Display for Area {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Area::InternalUse => "internal use",
            Area::Chassis => "chassis",
            Area::Board => "board",
            Area::Product => "product",
            Area::MultiRecord => "multirecord",
        })
    }
}

/// A field of an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Who made it: board and product.
    Manufacturer,
    /// What it is called: board and product.
    ProductName,
    /// Its part or model number.
    PartNumber,
    /// Its version: product.
    Version,
    /// Its serial number.
    SerialNumber,
    /// What its owner calls it: product.
    AssetTag,
    /// Which file the image was made from: board and product.
    FileId,
    /// A field beyond those the specification has, counted from 0.
    Custom(usize),
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Name::Manufacturer => "manufacturer",
            Name::ProductName => "product name",
            Name::PartNumber => "part number",
            Name::Version => "version",
            Name::SerialNumber => "serial number",
            Name::AssetTag => "asset tag",
            Name::FileId => "FRU file id",
            Name::Custom(number) => return write!(f, "custom {number}"),
        })
    }
}
