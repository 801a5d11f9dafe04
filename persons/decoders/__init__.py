"""Code that runs in helper processes: everything that parses or decodes untrusted bytes.

Started by name from `persons.decoding`, and imported by nothing else. It may use `persons.images`,
but no Django, settings or secrets: it receives open files and answers with JSON and bytes. A
failure here ends only the helper.
"""
