"""Recipes: experiments whose values may be distributions, of which data sets are drawn, sample by sample.

A sample depends on the recipe, its seed and the sample's number alone: every distribution has random words of its own, named by its
path, so a field that is added changes no other. How numbers are made of words is fixed here, to the bit, and uses no library's functions.
"""

from nbdist.experiment.recipe.columns import DrawnColumn
from nbdist.experiment.recipe.recipe import Draw, Recipe, load_recipe, recipe_of
from nbdist.experiment.recipe.schema import recipe_schema

__all__ = ["Draw", "DrawnColumn", "Recipe", "load_recipe", "recipe_of", "recipe_schema"]
