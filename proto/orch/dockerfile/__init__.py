"""The Dockerfile language, as people use it: text → instructions → stages → steps. All of it pure."""
