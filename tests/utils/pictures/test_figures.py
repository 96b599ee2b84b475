from utils.pictures.figures import new_figure, save_figure


def test_figures_have_the_panels_and_size_asked_for_and_are_saved(tmp_path):
    figure, panels = new_figure(2, 3, width=2, height=1)
    assert panels.shape == (2, 3)
    assert tuple(figure.get_size_inches()) == (6, 2)
    save_figure(figure, tmp_path / "new" / "figure.png")
    assert (tmp_path / "new" / "figure.png").read_bytes().startswith(b"\x89PNG")
