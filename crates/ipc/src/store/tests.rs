//! The store on a real directory and on a disk that forgets.
