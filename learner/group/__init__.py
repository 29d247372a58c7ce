"""Several learners that train one policy."""
