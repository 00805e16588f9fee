"""Files for other libraries; each is reloaded there and compared before the export succeeds."""
