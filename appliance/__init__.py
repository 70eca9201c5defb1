"""The machine that Quay is installed on: what only an appliance needs, and the server never imports."""
