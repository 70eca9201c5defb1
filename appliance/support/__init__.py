"""
`quay support`: one file with what somebody needs who is to help from afar, and no secret in it.

Secrets are kept out twice: what is gathered has none (`settings` shows no value of a secret key), and whatever text
goes in is looked through for those that this installation has, and for what looks like one (`redaction`).
"""
