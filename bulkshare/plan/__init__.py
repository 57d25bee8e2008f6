"""Plan files. Offline: nothing here knows the cloud.

`load` turns a file into a `Plan`, or every problem with its position: `yaml` reads the text, `schema` defines the
contents and `messages` explains what violates it, `groups` and `lists` resolve references to groups and files.
`selectors` replaces selectors by IDs once a cloud has answered them, and `expand` turns a plan into pairs.
"""
