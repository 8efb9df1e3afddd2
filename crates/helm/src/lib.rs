//! Renders the mesh's charts as Helm does.
