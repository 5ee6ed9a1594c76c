#include "coordinator/cli/cli_options.h"

#include "coordinator/cli/cli.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { HELP = 256, FIRST };

static bool read_word(const char *command, const char *name, const sc_cli_option *option, const char *text)
{
    char list[256] = "";
    size_t used = 0;
    for (int i = 0; option->words[i] && used < sizeof list; i++) {
        if (strcmp(text, option->words[i]) == 0) {
            *option->word = i;
            return true;
        }
        const char *between = i == 0 ? "" : option->words[i + 1] ? ", " : " or ";
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", between, option->words[i]);
    }
    sc_cli_usage(command, "option '%s' wants %s, not '%s'", name, list, text);
    return false;
}

static bool read_value(const char *command, const sc_cli_option *option, const char *text)
{
    char name[64];
    int64_t value;
    snprintf(name, sizeof name, "--%s", option->name);
    if (option->flag)
        *option->flag = true;
    else if (option->text)
        *option->text = text;
    else if (option->wide)
        return sc_cli_integer(command, name, text, option->low, option->high, option->wide);
    else if (option->number)
        return sc_cli_number(command, name, text, option->least, option->most, option->number);
    else if (option->word)
        return read_word(command, name, option, text);
    else if (!sc_cli_integer(command, name, text, option->low, option->high, &value))
        return false;
    else
        *option->integer = (int)value;
    return true;
}

int sc_cli_read_options(int argc, char **argv, const sc_cli_option *options, const char *help)
{
    struct option table[SC_CLI_MOST_OPTIONS + 2] = {{"help", no_argument, NULL, HELP}};
    int n = 0;
    for (; n < SC_CLI_MOST_OPTIONS && options[n].name; n++) {
        table[n + 1] =
            (struct option){options[n].name, options[n].flag ? no_argument : required_argument, NULL, FIRST + n};
    }
    for (int option; (option = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
        if (option == 'h' || option == HELP) {
            fputs(help, stdout);
            return sc_cli_finish(argv[0], SC_EXIT_OK);
        }
        if (option < FIRST)
            return sc_cli_try_help(argv[0]);
        if (!read_value(argv[0], &options[option - FIRST], optarg))
            return SC_EXIT_USAGE;
    }
    return -1;
}
