"""The questions: each file has those that share an idea, with references, properties and named mistakes."""
