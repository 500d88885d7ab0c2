"""A bundle on disk and what a server holds of it: deployment, locks, schedules, templates."""
