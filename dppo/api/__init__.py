"""The Python API, a module a subject; `dppo` itself imports them when they are used."""
