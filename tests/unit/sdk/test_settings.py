import pytest

from harvester.domain.model.hosting import Access
from harvester.sdk.errors import ConfigurationError
from harvester.sdk.settings import Settings, find_settings


@pytest.fixture
def config(tmp_path):
    return tmp_path / "config.toml"


def find(config, url=None, token=None, **environ):
    settings = find_settings(url, token, environ=environ, config=config)
    return settings.url, settings.token


def test_arguments_beat_the_environment_which_beats_the_file(config):
    config.write_text('url = "http://file:1"\ntoken = "of file"\n')
    env = {"HARVESTER_URL": "http://env:2", "HARVESTER_TOKEN": "of env"}
    assert find(config) == ("http://file:1", "of file")
    assert find(config, **env) == ("http://env:2", "of env")
    assert find(config, "http://arg:3/", "of arg", **env) == ("http://arg:3", "of arg")
    assert find(config, "HTTP://Arg:3/", "of arg") == ("http://Arg:3", "of arg")
    assert find(config, "Http://file:1") == ("http://file:1", "of file")


def test_nothing_found_names_all_three_places(config):
    with pytest.raises(ConfigurationError) as caught:
        find(config)
    for place in ("url=", "HARVESTER_URL", "HARVESTER_TOKEN", str(config)):
        assert place in str(caught.value)


RUN = Access(url="http://gateway:1", token="of run", invocation_id="i1")


def test_in_a_function_it_is_the_runs_own_and_never_the_files(config):
    config.write_text('url = "http://file:1"\ntoken = "of file"\n')
    own = find_settings(environ={}, config=config, run=RUN)
    assert own == Settings(url="http://gateway:1", token="of run", parent="i1", is_direct=True)
    users = find_settings(token="of user", environ={}, config=config, run=RUN)
    assert users == Settings(url="http://gateway:1", token="of user", parent="i1", is_direct=True)
    other = find_settings("http://other:9", "of user", environ={}, config=config, run=RUN)
    assert other == Settings(url="http://other:9", token="of user", parent="i1", is_direct=False)


def test_the_credential_of_a_run_is_not_handed_to_another_gateway(config):
    with pytest.raises(ConfigurationError, match="no token is known for the gateway http://other:9"):
        find_settings("http://other:9", environ={}, config=config, run=RUN)


def test_the_token_of_the_file_is_not_handed_to_another_gateway(config):
    config.write_text('url = "http://file:1"\ntoken = "of file"\n')
    with pytest.raises(ConfigurationError, match="no token is known for the gateway http://other:9"):
        find(config, "http://other:9")
    assert find(config, HARVESTER_URL="http://file:1/") == ("http://file:1", "of file")


def test_a_token_file_lies_beside_the_config_file(config):
    (config.parent / "secret").write_text("from a file\n")
    config.write_text('url = "http://file:1"\ntoken_file = "secret"\n')
    assert find(config) == ("http://file:1", "from a file")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("url = ", "is not TOML"),
        ('host = "x"', "unknown field `host`"),
        ("url = 5", "Expected `str`, got `int`"),
        ('url = "gateway:80"', "must begin with http:// or https://"),
        ('url = "http://a:1"\ntoken_file = "missing"', "token_file in .*missing"),
    ],
)
def test_a_wrong_config_file_is_told_with_its_path(config, text, said):
    config.write_text(text)
    with pytest.raises(ConfigurationError, match=said) as caught:
        find(config)
    assert str(config) in str(caught.value)
