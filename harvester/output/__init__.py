"""OUTPUT, the JSONL file: its lines, its file, its scan, its verification."""
