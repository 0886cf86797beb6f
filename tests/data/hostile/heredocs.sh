cat <<A <<'B' <<-"C"
A
$(cat <<A
B
`
