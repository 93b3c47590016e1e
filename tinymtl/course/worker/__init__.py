"""What runs beside a student's code, and all of it: loaded by its path, it imports nothing of tinymtl."""
