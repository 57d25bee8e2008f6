"""What bulkshare relies on of a cloud, checked against a real Keystone and Glance and against the sandbox alike."""
