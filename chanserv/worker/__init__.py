"""Workers: what takes messages off a layer and runs an application's consumers."""
