"""
`quay doctor`: what keeps an installation from being well, or soon will; each finding with the command that mends it.

`patient` is who is examined, `table` has the checks, one module for each subject, and `examination` runs them, each in
a thread of its own and within its time. Nothing is changed but files that are removed at once, and no secret is shown.
"""
