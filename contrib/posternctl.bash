# Bash completion of posternctl.
_posternctl() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command='' word i skip=no
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [ $skip = yes ]; then
            skip=no
            continue
        fi
        case $word in
        --control | --uuid | --user | --dn | --uri | --bind-dn | --password-file | --ca-file | --agent-dn | --mail-root | --allow-port | \
            --cert-file | --key-file | --keytab | --ldif | --as-user | --user-password-file) skip=yes ;;
        -*) ;;
        *) command=${command:+$command }$word ;;
        esac
    done
    COMPREPLY=()
    case $previous in
    --control | --password-file | --ca-file | --cert-file | --key-file | --keytab | --ldif | --user-password-file)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return ;;
    --mail-root)
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        return ;;
    --uuid | --user | --dn | --uri | --bind-dn | --agent-dn | --allow-port | --as-user) return ;;
    esac
    local words='--control --json --help --version'
    case $command in
    '') words+=' status sessions kick config links access locate lockouts unlock watch reload postoffice schema check version' ;;
    status) words+=' --all' ;;
    kick) words+=' --user' ;;
    postoffice) words+=' init' ;;
    'postoffice init')
        words+=' --uuid'
        mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
    schema) words+=' openldap upgrade 389ds' ;;
    'schema upgrade') words+=' --dn' ;;
    check) words+=' --uri --agent-dn --bind-dn --password-file --external --start-tls --ca-file --mail-root --allow-port --ldif --as-user
        --user-password-file --no-users --cert-file --key-file --gssapi --keytab --verbose' ;;
    esac
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _posternctl posternctl
