#define MESSAGE "the platform is here"
