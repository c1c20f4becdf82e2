"""The `celldock` command: thin over the domain, the S3 API and the portal's API."""
