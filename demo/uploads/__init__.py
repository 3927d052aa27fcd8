"""An upload with progress: the server says what arrived, and keeps nothing."""
