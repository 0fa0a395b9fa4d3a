//! A model of the host around the BMC: buttons in, power-good, heat and tach out.
